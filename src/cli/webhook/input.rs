//! Deliveries from a file or stdin: one JSON object a line, or one document that holds many.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::{Failure, Unreadable};

/// Longest line, in bytes: a body of 32 MiB in base64, and its head.
const MOST_LINE_BYTES: u64 = 48 << 20;

/// Largest document that is not one object a line, in bytes.
const MOST_BYTES: u64 = 512 << 20;

type Each<'f> = dyn FnMut(Result<Value, Unreadable>) -> std::io::Result<()> + 'f;

/// The file, or stdin for `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Hands every delivery to `take`, in order.
pub(super) fn each(input: &mut dyn BufRead, take: &mut Each<'_>) -> std::io::Result<()> {
    let mut is_first = true;
    while let Some(line) = next_line(input)? {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                take(Err(error))?;
                continue;
            }
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed = serde_json::from_slice::<Value>(&line);
        match parsed {
            Ok(value) => entries(value, take)?,
            // The first line of a document that is printed over many lines.
            Err(error) if is_first && error.is_eof() => return document(line, input, take),
            Err(error) => take(Err(Unreadable::new(format!("not JSON: {error}"))))?,
        }
        is_first = false;
    }
    Ok(())
}

/// A document over many lines, if it is one; else line by line after all.
fn document(mut start: Vec<u8>, input: &mut dyn BufRead, take: &mut Each<'_>) -> std::io::Result<()> {
    input.take(MOST_BYTES).read_to_end(&mut start)?;
    if let Ok(value) = serde_json::from_slice::<Value>(&start) {
        return entries(value, take);
    }
    for line in start.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice::<Value>(line) {
            Ok(value) => entries(value, take)?,
            Err(error) => take(Err(Unreadable::new(format!("not JSON: {error}"))))?,
        }
    }
    Ok(())
}

fn entries(value: Value, take: &mut Each<'_>) -> std::io::Result<()> {
    match value {
        Value::Array(items) => items.into_iter().try_for_each(|item| take(Ok(item))),
        Value::Object(mut fields) => match fields.get_mut("vectors").map(Value::take) {
            Some(Value::Array(items)) => items.into_iter().try_for_each(|item| take(Ok(item))),
            Some(_) | None => take(Ok(Value::Object(fields))),
        },
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => take(Ok(other)),
    }
}

/// The next line; one that is too long is read to its end and forgotten.
fn next_line(input: &mut dyn BufRead) -> std::io::Result<Option<Result<Vec<u8>, Unreadable>>> {
    let mut line = Vec::new();
    let read = input.take(MOST_LINE_BYTES).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    let is_cut = !line.ends_with(b"\n") && u64::try_from(read).is_ok_and(|read| read == MOST_LINE_BYTES);
    if !is_cut {
        return Ok(Some(Ok(line)));
    }
    loop {
        line.clear();
        let read = input.take(MOST_LINE_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 || line.ends_with(b"\n") {
            let message = format!("a line is over {MOST_LINE_BYTES} bytes");
            return Ok(Some(Err(Unreadable::new(message))));
        }
    }
}
