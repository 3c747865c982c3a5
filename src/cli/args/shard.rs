//! `--shard`: several machines share the work, and each takes one part of the photos.

/// Reads `I/N`, with I counted from 0. If N stands alone, I comes from an environment variable of the job system.
pub fn parse(text: &str) -> Result<(usize, usize), String> {
    let (shard, of) = match text.split_once('/') {
        Some((shard, of)) => (shard.to_string(), of),
        None => {
            let names = ["JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"];
            let found =
                names.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
            (found.ok_or(format!("give I/{text}, or set {}", names.join(" or ")))?, text)
        }
    };
    let parsed = shard.trim().parse().ok().zip(of.trim().parse().ok());
    let (shard, of): (usize, usize) = parsed.ok_or("give I/N, such as 0/4")?;
    if of == 0 {
        Err("give at least one part, such as 0/1".into())
    } else if shard < of {
        Ok((shard, of))
    } else {
        Err(format!("parts are counted from 0: of {of} the last is {}", of - 1))
    }
}
