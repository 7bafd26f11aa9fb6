"""Songs that wait for their covers: kept in a file, done one after another, or on many machines."""
