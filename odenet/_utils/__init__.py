"""What everything else stands on: scikit-learn's private names, devices, files."""
