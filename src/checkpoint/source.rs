//! What the name of a model stands for.

use std::path::Path;

use super::models::{by_name, nearest};
use crate::error::{Error, Result};

/// What a model's name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Embedded,
    Folder(std::path::PathBuf),
    Repository(Repository),
}

/// A Hugging Face repository at a branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    pub id: String,
    pub revision: String,
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.revision.as_str() {
            "main" => f.write_str(&self.id),
            revision => write!(f, "{}@{revision}", self.id),
        }
    }
}

/// Tries short names first, then folders, then repository ids.
pub(crate) fn parse(name: &str) -> Result<Source> {
    if let Some(alias) = by_name(name) {
        return Ok(match alias.repository {
            None => Source::Embedded,
            Some(id) => Source::Repository(Repository { id: id.into(), revision: "main".into() }),
        });
    }
    if Path::new(name).is_dir() {
        return Ok(Source::Folder(name.into()));
    }
    let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
    let word = |w: &str| {
        !w.is_empty()
            && !w.starts_with('.')
            && w.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if let Some((owner, repo)) = id.split_once('/')
        && word(owner)
        && word(repo)
        && !revision.is_empty()
        && !revision.starts_with('/')
        && !revision.contains("..")
        && revision.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
    {
        return Ok(Source::Repository(Repository { id: id.into(), revision: revision.into() }));
    }
    let hint = match nearest(name) {
        names if names.is_empty() => "`blemish models` lists the names".to_string(),
        names => format!("did you mean {}? `blemish models` lists all", names.join(" or ")),
    };
    Err(Error::setting(
        format!("model {name}"),
        format!("neither a known name, nor a folder, nor owner/repository; {hint}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(parse("tiny").unwrap(), Source::Embedded);
        let repository = |id: &str, revision: &str| {
            Source::Repository(Repository { id: id.into(), revision: revision.into() })
        };
        assert_eq!(parse("ViT-B-32").unwrap(), repository("openai/clip-vit-base-patch32", "main"));
        assert_eq!(parse("a/b@refs/pr/1").unwrap(), repository("a/b", "refs/pr/1"));
        assert!(matches!(parse("src").unwrap(), Source::Folder(_)));
        for bad in [
            "",
            "nothing",
            "a/b/c",
            "../a",
            "a/b@",
            "a/b@../../x",
            "a/b@/etc/x",
            "/no/such/folder",
            "a b/c",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.is_usage(), "{bad}");
        }
    }
}
