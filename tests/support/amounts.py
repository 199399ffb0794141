"""Whole texts held against a grammar of amounts."""

from pipelines.strings.amount_grammar import AmountGrammar, GrammarState


def is_amount(text: str, grammar: AmountGrammar | None = None) -> bool:
    """Whether the grammar, by default the usual one, leads through the whole text to an end."""
    used = AmountGrammar() if grammar is None else grammar
    state: GrammarState | None = used.start
    for character in text:
        state = used.following(state, character) if state is not None else None
    return state is not None and used.is_accepting(state)
