from odenet._flow import GradientFlow
