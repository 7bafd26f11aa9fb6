"""The converter: signal functions, models, engine."""
