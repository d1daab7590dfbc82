"""The recipe of the small reasoning model that interwhen brings: data, model, training, and the file for llama.cpp."""
