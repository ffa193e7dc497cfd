"""Tables, figures and sentences, made from records alone."""
