"""What plugs into other people's frameworks. Each module needs its framework, and nothing here needs any of them."""
