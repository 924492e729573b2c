// The page "Play with depth": two small networks, evaluated at any depth.
//
// `odenetNetworks` does what `with_depth(L)` and `predict_proba` of odenet do, and
// `odenetPage` draws it. tests/whole/test_play.py compares the numbers with odenet's.
"use strict";

// The functions of two networks whose weights docs/_play/make_weights.py has written.
function odenetNetworks(data) {
  const { depth: TRAINED, width: M, state_dim: Q, n_classes: N_CLASSES } = data;

  function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 4 }, (_, i) =>
      view.getFloat32(4 * i, true));
  }

  const networks = {};
  for (const [name, packed] of Object.entries(data.networks)) {
    networks[name] = { ...packed };
    for (const part of ["embedding", "V", "W", "head"]) {
      networks[name][part] = unpacked(packed[part]);
    }
  }

  // Weights of L layers on the line through the middles s = (k - 1/2)/32 of the trained.
  function resampled(weights, L) {
    if (L === TRAINED) return weights;
    const size = weights.length / TRAINED;
    const layers = new Float64Array(L * size);
    for (let k = 0; k < L; k++) {
      const position = ((k + 0.5) / L) * TRAINED - 0.5;
      const left = Math.min(Math.max(Math.floor(position), 0), TRAINED - 2);
      const share = position - left;
      for (let i = 0; i < size; i++) {
        const a = weights[left * size + i], b = weights[(left + 1) * size + i];
        layers[k * size + i] = a + share * (b - a);
      }
    }
    return layers;
  }

  // The network of L layers, with the factors of its formula in its weights.
  function withDepth(name, L) {
    const network = networks[name];
    const V = resampled(network.V, L).map((v) => v / (L * Math.sqrt(M)));
    const W = resampled(network.W, L).map((w) => w / Math.sqrt(Q));
    return { ...network, V, W, L };
  }

  // h_0 = A (x, 1), then h_k = h_{k-1} + V_k tanh(W_k h_{k-1}). Calls `seen(k, h)`.
  function lastState({ embedding: A, V, W, L }, [x, y], seen = () => {}) {
    const h = new Float64Array(Q), a = new Float64Array(M);
    for (let i = 0; i < Q; i++) h[i] = A[3 * i] * x + A[3 * i + 1] * y + A[3 * i + 2];
    seen(0, h);
    for (let k = 0; k < L; k++) {
      const start = k * Q * M;
      for (let j = 0; j < M; j++) {
        let z = 0;
        for (let i = 0; i < Q; i++) z += W[start + j * Q + i] * h[i];
        a[j] = 1 - 2 / (Math.exp(2 * z) + 1); // tanh(z), in less time than Math.tanh
      }
      for (let i = 0; i < Q; i++) {
        let step = 0;
        for (let j = 0; j < M; j++) step += V[start + i * M + j] * a[j];
        h[i] += step;
      }
      seen(k + 1, h);
    }
    return h;
  }

  // The softmax of B h_L, divided by the temperature.
  function probabilities(network, point) {
    const h = lastState(network, point), p = new Float64Array(N_CLASSES);
    for (let c = 0; c < N_CLASSES; c++) {
      for (let i = 0; i < Q; i++) p[c] += network.head[c * Q + i] * h[i];
      p[c] /= network.temperature;
    }
    const largest = Math.max(...p);
    let sum = 0;
    for (let c = 0; c < N_CLASSES; c++) sum += p[c] = Math.exp(p[c] - largest);
    return p.map((v) => v / sum);
  }

  // The ways of the first points through the layers, in the plane of the trained states.
  function paths(network) {
    return data.X.slice(0, data.n_followed).map((point) => {
      const path = [];
      lastState(network, point, (k, h) => path.push(network.plane.map((axis) =>
        axis.reduce((sum, v, i) => sum + v * (h[i] - network.origin[i]), 0))));
      return path;
    });
  }

  return { withDepth, probabilities, paths };
}

// The page: its controls, its pictures and its words.
function odenetPage() {
  const data = JSON.parse(document.getElementById("play-data").textContent);
  const { depth: TRAINED, n_classes: N_CLASSES } = data;
  const { withDepth, probabilities, paths } = odenetNetworks(data);
  // All small depths, then some eight to each doubling, with those beside the trained.
  const DEPTHS = [...Array(16).keys()].map((k) => k + 1).concat(
    [18, 20, 22, 24, 26, 28, 30, 31, 32, 33, 34, 36, 40, 44, 48, 52, 56, 60, 64, 72, 80],
    [88, 96, 104, 112, 120, 128, 144, 160, 176, 192, 208, 224, 240, 256],
  );
  const PRESETS = [1, 4, 8, 16, 31, 32, 33, 64, 256];
  const COLORS = [[91, 58, 142], [33, 145, 140], [222, 196, 40]]; // dark to light
  const EDGE = 3.2; // of the map, in the units of the points
  const COARSE = 24, FINE = 72; // places in a row of the map: at once, and in the end
  const SLICE = 12; // milliseconds of computing before the page may answer again
  const WALK = 4000; // milliseconds of a walk through all layers

  const decided = (p, at = 0) =>
    p[at] >= p[at + 1] && p[at] >= p[at + 2] ? 0 : p[at + 1] >= p[at + 2] ? 1 : 2;

  function accuracy(network) {
    const right = data.X.filter((x, i) => decided(probabilities(network, x)) === data.y[i]);
    return right.length / data.X.length;
  }

  // Probabilities at n x n places of the map; null if another depth is wanted meanwhile.
  async function grid(network, n, isWanted) {
    const p = new Float64Array(n * n * N_CLASSES);
    let paused = performance.now();
    for (let row = 0; row < n; row++) {
      for (let column = 0; column < n; column++) {
        const point = [column, n - 1 - row].map((i) => EDGE * ((2 * i) / (n - 1) - 1));
        p.set(probabilities(network, point), (row * n + column) * N_CLASSES);
      }
      if (performance.now() - paused > SLICE) {
        await new Promise((resolve) => setTimeout(resolve));
        if (!isWanted()) return null;
        paused = performance.now();
      }
    }
    return p;
  }

  // ---- the pictures -----------------------------------------------------------------

  const isDark = () => document.documentElement.dataset.theme === "dark";
  const ink = () => (isDark() ? "#f0f3f6" : "#1b1f24");

  // A canvas of as many pixels as the screen has at its place.
  function prepared(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    return { pen, width, height };
  }

  // The class at every pixel, of probabilities that are interpolated between places.
  function classes(p, size) {
    const n = Math.sqrt(p.length / N_CLASSES), found = new Uint8Array(size * size);
    const shares = new Float64Array(N_CLASSES);
    for (let y = 0; y < size; y++) {
      const v = (y / (size - 1)) * (n - 1), row = Math.min(Math.floor(v), n - 2);
      for (let x = 0; x < size; x++) {
        const u = (x / (size - 1)) * (n - 1), column = Math.min(Math.floor(u), n - 2);
        const a = u - column, b = v - row, at = (row * n + column) * N_CLASSES;
        for (let c = 0; c < N_CLASSES; c++) {
          const below = at + n * N_CLASSES + c;
          shares[c] = (1 - b) * ((1 - a) * p[at + c] + a * p[at + N_CLASSES + c])
            + b * ((1 - a) * p[below] + a * p[below + N_CLASSES]);
        }
        found[y * size + x] = decided(shares);
      }
    }
    return found;
  }

  function mark(pen, kind, x, y, r) {
    pen.beginPath();
    if (kind === 0) pen.arc(x, y, r, 0, 2 * Math.PI);
    else if (kind === 1) pen.rect(x - r, y - r, 2 * r, 2 * r);
    else {
      pen.moveTo(x, y - 1.3 * r);
      pen.lineTo(x + 1.2 * r, y + r);
      pen.lineTo(x - 1.2 * r, y + r);
      pen.closePath();
    }
    pen.fillStyle = `rgb(${COLORS[kind]})`;
    pen.fill();
    pen.strokeStyle = ink();
    pen.stroke();
  }

  function drawMap(canvas, now, trained) {
    const { pen, width } = prepared(canvas), size = canvas.width;
    const image = pen.createImageData(size, size);
    const found = classes(now, size), before = classes(trained, size);
    const ground = isDark() ? 20 : 255, line = isDark() ? 255 : 0;
    const reach = Math.max(1, Math.round((window.devicePixelRatio || 1) * 0.75));
    for (let y = 0, i = 0; y < size; y++) {
      for (let x = 0; x < size; x++, i++) {
        const right = Math.min(x + reach, size - 1), below = Math.min(y + reach, size - 1);
        const isBorder = before[i] !== before[y * size + right]
          || before[i] !== before[below * size + x];
        for (let c = 0; c < 3; c++) {
          image.data[4 * i + c] = isBorder ? line
            : 0.55 * COLORS[found[i]][c] + 0.45 * ground;
        }
        image.data[4 * i + 3] = 255;
      }
    }
    pen.putImageData(image, 0, 0);
    const place = (v) => ((v / EDGE + 1) / 2) * width;
    pen.lineWidth = 0.7;
    data.X.forEach(([x, y], i) =>
      mark(pen, data.y[i], place(x), width - place(y), width / 150));
  }

  function drawPaths(canvas, ways, limits, share) {
    const { pen, width, height } = prepared(canvas);
    const place = ([x, y]) => [
      ((x - limits[0][0]) / (limits[0][1] - limits[0][0])) * width,
      height - ((y - limits[1][0]) / (limits[1][1] - limits[1][0])) * height,
    ];
    ways.forEach((way, i) => {
      const last = share * (way.length - 1), n = Math.floor(last);
      const points = way.slice(0, n + 1).map(place);
      if (n < last) {
        const next = place(way[n + 1]);
        points.push(points[n].map((v, j) => v + (last - n) * (next[j] - v)));
      }
      // An outline of ink lets light colours be seen on white, and dark ones on black.
      for (const [style, wide] of [[ink(), 3.4], [`rgb(${COLORS[data.y[i]]})`, 2.2]]) {
        pen.strokeStyle = style;
        pen.lineWidth = wide;
        pen.beginPath();
        points.forEach((point) => pen.lineTo(...point));
        pen.stroke();
      }
      const whole = way.map(place), ends = [whole[0], whole.at(-1)];
      const long = Math.hypot(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]);
      pen.fillStyle = ink();
      if (long / way.length > 5) { // else the dots of the layers would hide the line
        for (const [x, y] of points) pen.fillRect(x - 1.5, y - 1.5, 3, 3);
      }
      pen.lineWidth = 0.7;
      mark(pen, data.y[i], ...points.at(-1), Math.max(3, width / 100));
    });
  }

  // The rectangle that the trained paths fill, with room around.
  function limitsOf(ways) {
    return [0, 1].map((j) => {
      const values = ways.flat().map((point) => point[j]);
      const low = Math.min(...values), high = Math.max(...values);
      const room = 0.15 * (high - low);
      return [low - room, high + room];
    });
  }

  // ---- the page ---------------------------------------------------------------------

  const page = document.getElementById("play");
  const slider = document.getElementById("play-slider");
  const field = document.getElementById("play-depth");
  const walk = document.getElementById("play-walk");
  const status = page.querySelector(".play-status");
  const presets = page.querySelector(".play-presets");
  const stands = [...page.querySelectorAll(".play-network")].map((section) => {
    const key = section.dataset.network, trained = withDepth(key, TRAINED);
    return {
      key,
      trained,
      grids: {},
      name: section.querySelector("strong").textContent,
      map: section.querySelector(".play-map"),
      paths: section.querySelector(".play-paths"),
      numbers: section.querySelector(".play-numbers"),
      limits: limitsOf(paths(trained)),
    };
  });
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const layers = (L) => (L === 1 ? "1 layer" : `${L} layers`);
  let wanted = 0; // counts the changes, so that what is late is given up
  let walking = 0;

  function differing(p, q) {
    let n = 0;
    for (let i = 0; i < p.length; i += N_CLASSES) n += decided(p, i) !== decided(q, i);
    return n / (p.length / N_CLASSES);
  }

  function redraw(share = 1) {
    if (!page.clientWidth) return; // not laid out yet, or hidden
    for (const stand of stands) {
      if (stand.shown) drawMap(stand.map, stand.shown, stand.border);
      if (stand.ways) drawPaths(stand.paths, stand.ways, stand.limits, share);
    }
  }

  function describe(stand, L, difference) {
    const right = percent(accuracy(stand.changed));
    const rest = L === TRAINED ? "as it was trained"
      : difference === undefined ? "…"
        : `${percent(difference)} of the map has another colour than with ${TRAINED}`;
    stand.numbers.textContent = `${right} of new points right; ${rest}.`;
    stand.map.setAttribute("aria-label",
      `Map of the answers, ${stand.name.toLowerCase()}, ${layers(L)}: ${right} right.`);
    stand.paths.setAttribute("aria-label",
      `Ways of ${data.n_followed} points through ${layers(L)}, seen in a plane.`);
    return `${stand.name}: ${stand.numbers.textContent}`;
  }

  async function setDepth(L) {
    const number = ++wanted, isWanted = () => number === wanted;
    cancelAnimationFrame(walking);
    const nearest = DEPTHS.reduce((best, depth, i) =>
      (Math.abs(depth - L) < Math.abs(DEPTHS[best] - L) ? i : best), 0);
    if (DEPTHS[slider.value] !== L) slider.value = nearest;
    slider.setAttribute("aria-valuetext", layers(L));
    field.value = L;
    for (const button of presets.children) {
      button.setAttribute("aria-pressed", String(Number(button.value) === L));
    }
    page.dataset.depth = L;
    page.dataset.state = "computing";
    for (const n of [COARSE, FINE]) {
      const told = [];
      for (const stand of stands) {
        stand.changed = withDepth(stand.key, L);
        stand.ways = paths(stand.changed);
        stand.grids[n] ??= await grid(stand.trained, n, () => true);
        const found = L === TRAINED ? stand.grids[n]
          : await grid(stand.changed, n, isWanted);
        if (!isWanted() || !found) return;
        stand.shown = found;
        stand.border = stand.grids[FINE] ?? stand.grids[n];
        const difference = n === FINE ? differing(found, stand.grids[n]) : undefined;
        told.push(describe(stand, L, difference));
      }
      redraw();
      if (n === FINE) {
        status.textContent = `${layers(L)}. ${told.join(" ")}`;
        page.dataset.state = "ready";
      }
    }
  }

  function startWalk() {
    cancelAnimationFrame(walking);
    const start = performance.now();
    const step = (time) => {
      const share = Math.min(Math.max((time - start) / WALK, 0), 1);
      for (const { paths: canvas, ways, limits } of stands) {
        drawPaths(canvas, ways, limits, share);
      }
      if (share < 1) walking = requestAnimationFrame(step);
    };
    walking = requestAnimationFrame(step);
  }

  slider.max = DEPTHS.length - 1;
  for (const L of PRESETS) {
    const button = document.createElement("button");
    button.type = "button";
    button.value = button.textContent = L;
    button.setAttribute("aria-label", layers(L));
    button.addEventListener("click", () => setDepth(L));
    presets.append(button);
  }
  slider.addEventListener("input", () => setDepth(DEPTHS[slider.value]));
  field.addEventListener("input", () => {
    const L = field.valueAsNumber;
    if (Number.isInteger(L) && L >= 1 && L <= 256) setDepth(L);
  });
  walk.addEventListener("click", startWalk);
  new MutationObserver(() => redraw()).observe(document.documentElement,
    { attributeFilter: ["data-theme"] });
  window.addEventListener("resize", () => redraw());
  setDepth(TRAINED);

  // For tests, and for the curious: odenetPlay.predict("smooth", 64, [[0.5, 1]]).
  window.odenetPlay = {
    predict: (name, L, points) => {
      const network = withDepth(name, L);
      return points.map((point) => [...probabilities(network, point)]);
    },
  };
}

if (typeof document === "undefined") module.exports = odenetNetworks; // in node
else odenetPage();
