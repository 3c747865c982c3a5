//! CLIP's byte-pair tokenizer, from `tokenizer.json` or from `vocab.json` and `merges.txt`.

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{
    Lowercase, NFC, Replace, Sequence as Normalizers, replace::ReplacePattern,
};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, TruncationParams};

use crate::checkpoint::{Files, Vocabulary, in_file};
use crate::error::catch_panic;
use crate::error::{Error, Result};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// One text as token ids: the start-of-text token, the text, the end-of-text token. There is no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids. The last one is the end-of-text token.
    pub ids: Vec<u32>,
    /// Whether the text was longer than the model's context, so that its end was cut off.
    pub cut: bool,
}

pub(super) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    end: u32,
    sha256: String,
}

impl Tokenizer {
    pub fn open(
        files: &Files,
        vocabulary: &Vocabulary,
        context: usize,
        size: usize,
    ) -> Result<Self> {
        let file = match vocabulary {
            Vocabulary::TokenizerJson => files.path("tokenizer.json"),
            Vocabulary::VocabAndMerges => files.path("vocab.json"),
        };
        // A vocabulary with half of a surrogate pair makes the tokenizer panic.
        catch_panic(|| Self::build(files, vocabulary, context, size)).unwrap_or_else(|| {
            Err(Error::model(file.display(), "not a tokenizer: it cannot be built"))
        })
    }

    fn build(files: &Files, vocabulary: &Vocabulary, context: usize, size: usize) -> Result<Self> {
        let (inner, sha256, file) = match vocabulary {
            Vocabulary::TokenizerJson => {
                let file = files.path("tokenizer.json");
                let bytes = files.read("tokenizer.json")?;
                let inner = tokenizers::Tokenizer::from_bytes(&bytes)
                    .map_err(|e| Error::model(file.display(), format!("not a tokenizer: {e}")))?;
                (inner, crate::files::sha256(&bytes), file)
            }
            Vocabulary::VocabAndMerges => {
                let file = files.path("vocab.json");
                let (vocab, merges) = (files.read("vocab.json")?, files.read("merges.txt")?);
                let inner = in_file(file.display(), from_vocab_and_merges(&vocab, &merges))?;
                (inner, crate::files::sha256(&[vocab, merges].concat()), file)
            }
        };
        let mut inner = inner;
        inner.with_padding(None);
        let truncation = TruncationParams { max_length: context, ..Default::default() };
        inner.with_truncation(Some(truncation)).map_err(|e| {
            Error::model(file.display(), format!("cannot limit texts to {context} tokens: {e}"))
        })?;
        let fail = |why: String| Error::model(file.display(), why);
        let id = |token: &str| {
            let id = inner.token_to_id(token);
            id.ok_or_else(|| fail(format!("has no {token} token: not a CLIP tokenizer")))
        };
        let (start, end) = (id(START)?, id(END)?);
        let probe = inner.encode("a", true).map_err(|e| fail(format!("does not work: {e}")))?;
        if probe.get_ids().first() != Some(&start) || probe.get_ids().last() != Some(&end) {
            return Err(fail(format!("does not put texts between {START} and {END}")));
        }
        let tokens = inner.get_vocab_size(true);
        if tokens > size {
            return Err(fail(format!("has {tokens} tokens where the model has {size}")));
        }
        Ok(Self { inner, end, sha256 })
    }

    /// The tokens that the embedding of a text depends on: those up to the first end-of-text token. This token also
    /// stands for characters that the vocabulary does not have.
    pub fn read_part<'a>(&self, tokens: &'a Tokens) -> &'a [u32] {
        let end =
            tokens.ids.iter().position(|&id| id == self.end).map_or(tokens.ids.len(), |i| i + 1);
        &tokens.ids[..end]
    }

    /// SHA-256 of the files that the tokenizer was read from.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub fn encode(&self, texts: &[String]) -> Result<Vec<Tokens>> {
        let fail = |e| Error::setting("text", format!("cannot be tokenized: {e}"));
        // Encode one text after another on this thread. `catch_panic` cannot catch a panic of another thread.
        let each = || texts.iter().map(|text| self.inner.encode(text.as_str(), true)).collect();
        let encodings: tokenizers::Result<Vec<_>> =
            catch_panic(each).unwrap_or_else(|| Err("the tokenizer failed on it".into()));
        let encodings = encodings.map_err(fail)?;
        Ok(encodings
            .into_iter()
            .map(|encoding| Tokens {
                ids: encoding.get_ids().to_vec(),
                cut: !encoding.get_overflowing().is_empty(),
            })
            .collect())
    }
}

/// Builds the same pipeline that transformers builds from `vocab.json` and `merges.txt`.
fn from_vocab_and_merges(vocab: &[u8], merges: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let vocab: std::collections::HashMap<String, u32> =
        serde_json::from_slice(vocab).map_err(|e| format!("not a vocabulary: {e}"))?;
    let id = |token: &str| vocab.get(token).copied().ok_or(format!("has no {token} token"));
    let (start, end) = (id(START)?, id(END)?);
    let merges =
        std::str::from_utf8(merges).map_err(|e| format!("merges.txt is not UTF-8: {e}"))?;
    let merges: Vec<(String, String)> = merges
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty())
        .map(|line| match line.split_once(' ') {
            Some((a, b)) => Ok((a.to_string(), b.to_string())),
            None => Err(format!("merges.txt: {line:?} is not a pair")),
        })
        .collect::<Result<_, _>>()?;
    let as_text = |e: tokenizers::Error| e.to_string();
    let model = BPE::builder()
        .vocab_and_merges(vocab.into_iter().collect::<Vocab>(), merges)
        .unk_token(END.into())
        .end_of_word_suffix("</w>".into())
        .build()
        .map_err(as_text)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(as_text)?;
    let split = SplitPattern::Regex(WORDS.into());
    let split = Split::new(split, SplitDelimiterBehavior::Removed, true).map_err(as_text)?;
    tokenizer
        .with_normalizer(Some(Normalizers::new(vec![NFC.into(), spaces.into(), Lowercase.into()])))
        .map_err(as_text)?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![
        split.into(),
        ByteLevel::new(false, true, true).into(),
    ])));
    tokenizer.with_post_processor(Some(
        RobertaProcessing::new((END.into(), end), (START.into(), start))
            .trim_offsets(false)
            .add_prefix_space(false),
    ));
    let special = [START, END].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).map_err(as_text)?;
    Ok(tokenizer)
}
