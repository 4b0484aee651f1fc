//! Reading a file anew while it runs: its routes may be different, nothing else.

use std::path::PathBuf;

use super::files;
use crate::config::{NodeFile, normalise};
use crate::run::Started;

/// Where a running file came from.
#[derive(Debug)]
pub(super) struct Source {
    /// The file.
    pub(super) path: PathBuf,
    /// `--set`.
    pub(super) set: Vec<String>,
    /// `--input`.
    pub(super) input: Option<PathBuf>,
}

/// Reads the file again and gives its routes to the node. Whatever is wrong with it is said, and all is as it was.
pub(super) async fn reload(source: &Source, running: &mut NodeFile, started: &Started) {
    let path = source.path.display();
    let loaded = files::load(&source.path, &source.set, source.input.as_deref());
    let Ok((file, warnings)) = loaded else {
        return eprintln!("{path}: not reloaded, the routes are as they were");
    };
    if let Some(line) = other_difference(running, &file) {
        return eprintln!(
            "{path}: not reloaded: only `[[route]]` can change while it runs, and `{line}` is different; stop it and start it \
             again to change that"
        );
    }
    for warning in &warnings {
        eprintln!("{path}: warning: {warning}");
    }
    match started.set_routes(&file).await {
        Ok(changed) => {
            eprintln!("reloaded {path}: routes: {changed}");
            *running = file;
        }
        Err(error) => eprintln!("{path}: not reloaded: {error}"),
    }
}

/// The first line outside of the routes that is not the same.
fn other_difference(running: &NodeFile, file: &NodeFile) -> Option<String> {
    let without_routes = |file: &NodeFile| {
        let mut file = file.clone();
        file.routes.clear();
        normalise::to_toml(&file)
    };
    let (old, new) = (without_routes(running), without_routes(file));
    let (mut old, mut new) = (old.lines(), new.lines());
    loop {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (old, new) if old == new => {}
            (old, new) => return new.or(old).map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::parse;

    #[test]
    fn only_routes_may_be_different() {
        let file = |text: &str| parse("node.toml", text, [], &[]).unwrap().0;
        let route = "[[route]]\nsubject = \"a\"\npolicy = \"hash\"\nto = [{group = \"g\"}]\n";
        let one = file("[node]\nname = \"n\"\n");
        let two = file(&format!("[node]\nname = \"n\"\n\n{route}"));
        assert_eq!(other_difference(&one, &two), None);
        let other = file("[node]\nname = \"n\"\n[limits]\nsessions = 3\n");
        let line = other_difference(&one, &other).unwrap();
        assert_eq!(line, "sessions = 3");
    }
}
