"""Where gradient steps happen: never in the server's own process."""
