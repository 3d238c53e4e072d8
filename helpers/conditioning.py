"""Words as the text encoder reads them: where in the list of tokens a word stands."""


def token_positions(tokenizer, prompt, word):
    """Where `word` stands among the tokens of `prompt`: a sorted list of positions, the start token being 0.

    tokenizer: a CLIPTokenizer. word: one word, or several that follow each other ("snowy mountains");
    capitals do not matter. Every piece of the word and every occurrence is listed: in "a red boat and a red
    car", "red" is [2, 6]. Raises ValueError where the word is empty, not in the prompt, or behind the last
    token that is read.
    """
    pieces = tokenizer(word).input_ids[1:-1]  # without start and end
    if not pieces:
        raise ValueError(f"word is {word!r}: give a word of the prompt {prompt!r}.")
    tokens = tokenizer(prompt, verbose=False)  # whole: what is too long is looked at below
    ids, words = tokens.input_ids, tokens.word_ids()  # which word each token belongs to
    starts = [i for i in range(1, len(ids) - len(pieces))
              if ids[i:i + len(pieces)] == pieces and (words[i] is None or words[i] != words[i - 1])]
    if not starts:
        raise ValueError(f"The word {word!r} is not in the prompt {prompt!r}: use one that is in it.")
    last = tokenizer.model_max_length - 1  # this place belongs to the end token
    read = [i for i in starts if i + len(pieces) <= last]
    if not read:
        raise ValueError(f"The word {word!r} comes too late in the prompt: the model reads the first "
                         f"{last - 1} tokens, so shorten what stands before it.")
    return sorted({i + offset for i in read for offset in range(len(pieces))})
