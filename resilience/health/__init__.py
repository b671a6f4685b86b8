"""How this deployment does, from now on and in this process: every probe again and again."""
