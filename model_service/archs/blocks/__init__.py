"""Network parts that several architectures share."""
