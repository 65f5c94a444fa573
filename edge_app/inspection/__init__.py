"""What a model or an engine is, for a person or a script that asks; nothing is run and nothing is changed."""
