"""Services: loops and operations that call the core, apply its plans to the store and execute the effects."""
