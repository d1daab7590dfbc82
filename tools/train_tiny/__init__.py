"""The recipe of the tiny reasoning model of interwhen: data, model, training, and the file for llama.cpp."""
