import pytest
import tiny
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from lm_steer import LMSteerError
from lm_steer.analyse.vocabulary import token_bytes, whole_words


def sentencepiece_like(tokens: list[str]) -> PreTrainedTokenizerFast:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocabulary, [])), eos_token="</s>")


def test_byte_level_tokens_are_the_bytes_that_they_add():
    tokenizer = tiny.make_tokenizer()
    content = token_bytes(tokenizer)
    assert len(content) == len(tokenizer)
    assert [content[number] for number in tokenizer.all_special_ids] == [None, None]
    ids = tokenizer("The movie – naïve")["input_ids"]
    assert b"".join(content[number] for number in ids) == "The movie – naïve".encode()


def test_both_ways_of_writing_a_space_are_one():
    content = token_bytes(sentencepiece_like(["</s>", "<0x0A>", "▁the", "re", "▁é"]))
    assert content == [None, b"\n", b" the", b"re", " é".encode()]


def test_whole_words_come_by_id_and_leave_out_fragments():
    tokens = ["</s>", "▁the", "re", "▁a", "▁été", "▁x1", "▁The"]
    assert whole_words(sentencepiece_like(tokens)) == {1: "the", 4: "été", 6: "The"}
    with pytest.raises(LMSteerError, match="is a whole word"):
        whole_words(sentencepiece_like(["</s>", "re", "▁a"]))
