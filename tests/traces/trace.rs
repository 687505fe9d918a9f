//! The file of a recording, as `docs/traces.md` describes it.

use std::fmt;

pub struct Recording {
    /// Lines such as `python 3.13.0`.
    pub head: Vec<String>,
    pub scenarios: Vec<Scenario>,
}

pub struct Scenario {
    pub number: String,
    pub kind: String,
    /// The type of all its futures.
    pub type_name: String,
    pub steps: Vec<Step>,
    /// All its lines, and the number of the first of them in the file.
    pub lines: Vec<String>,
    pub first_line: usize,
}

/// An operation and what CPython did.
pub struct Step {
    pub action: Action,
    /// Index of its line in the scenario's lines; the events follow it, then the outcome.
    pub line: usize,
    pub events: Vec<String>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Returned(String),
    Hung,
    /// CPython did not get here, since it hung before.
    NotReached,
}

#[derive(Clone, Debug)]
pub struct Action(pub Vec<Word>);

#[derive(Clone, Debug)]
pub enum Word {
    Text(String),
    Block(Vec<Action>),
}

impl Recording {
    pub fn parse(text: &str) -> Result<Recording, String> {
        let lines: Vec<&str> = text.lines().collect();
        let head: Vec<String> = lines
            .iter()
            .take_while(|line| !line.is_empty())
            .map(|line| line.to_string())
            .collect();
        if head.first().map(String::as_str) != Some("concurrent-futures traces 1") {
            return Err("line 1: not a recording of format 1".to_owned());
        }
        let mut scenarios = Vec::new();
        let mut start = head.len();
        while start < lines.len() {
            if lines[start].is_empty() {
                start += 1;
                continue;
            }
            let length = lines[start..]
                .iter()
                .take_while(|line| !line.is_empty())
                .count();
            scenarios.push(Scenario::parse(&lines[start..start + length], start + 1)?);
            start += length;
        }
        let count = format!("count {}", scenarios.len());
        if !head.contains(&count) {
            return Err(format!(
                "the head does not say `{count}`: not the whole file"
            ));
        }
        Ok(Recording { head, scenarios })
    }
}

impl Scenario {
    pub fn parse(lines: &[&str], first_line: usize) -> Result<Scenario, String> {
        let at = |index: usize, what: &str| {
            format!(
                "line {}: {}: `{}`",
                first_line + index,
                what,
                lines.get(index).unwrap_or(&"")
            )
        };
        let words: Vec<&str> = lines[0].split(' ').collect();
        if words.len() != 4 || words[0] != "scenario" {
            return Err(at(0, "not the head of a scenario"));
        }
        let mut steps: Vec<Step> = Vec::new();
        let mut ended = true;
        for (index, line) in lines.iter().enumerate().skip(1) {
            if let Some(event) = line.strip_prefix(' ') {
                match steps.last_mut() {
                    Some(step) if !ended => step.events.push(event.to_owned()),
                    _ => return Err(at(index, "an event outside of an operation")),
                }
            } else if let Some(outcome) = line.strip_prefix("= ") {
                match steps.last_mut() {
                    Some(step) if !ended => {
                        step.outcome = match outcome {
                            "hang" => Outcome::Hung,
                            "?" => Outcome::NotReached,
                            _ => Outcome::Returned(outcome.to_owned()),
                        }
                    }
                    _ => return Err(at(index, "an outcome outside of an operation")),
                }
                ended = true;
            } else {
                steps.push(Step {
                    action: Action::parse(line).ok_or_else(|| at(index, "not an operation"))?,
                    line: index,
                    events: Vec::new(),
                    outcome: Outcome::Returned("()".to_owned()),
                });
                ended = false;
            }
        }
        Ok(Scenario {
            number: words[1].to_owned(),
            kind: words[2].to_owned(),
            type_name: words[3].to_owned(),
            steps,
            lines: lines.iter().map(|line| line.to_string()).collect(),
            first_line,
        })
    }
}

impl Action {
    pub fn parse(line: &str) -> Option<Action> {
        let mut rest = line;
        let action = Action::parse_from(&mut rest)?;
        if rest.is_empty() {
            Some(action)
        } else {
            None
        }
    }

    /// Reads up to the end, or to the `;` or `}` that ends the action within a block.
    fn parse_from(rest: &mut &str) -> Option<Action> {
        let mut words = Vec::new();
        loop {
            *rest = rest.trim_start_matches(' ');
            if rest.is_empty() || rest.starts_with([';', '}']) {
                break;
            }
            if let Some(inner) = rest.strip_prefix('{') {
                *rest = inner;
                words.push(Word::Block(Action::parse_block(rest)?));
            } else {
                let end = rest.find([' ', ';', '}']).unwrap_or(rest.len());
                words.push(Word::Text(rest[..end].to_owned()));
                *rest = &rest[end..];
            }
        }
        match words.first() {
            Some(Word::Text(_)) => Some(Action(words)),
            _ => None,
        }
    }

    fn parse_block(rest: &mut &str) -> Option<Vec<Action>> {
        let mut actions = Vec::new();
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                *rest = after;
                return Some(actions);
            }
            actions.push(Action::parse_from(rest)?);
            if let Some(after) = rest.strip_prefix(';') {
                *rest = after;
            } else if !rest.starts_with('}') {
                return None;
            }
        }
    }

    pub fn name(&self) -> &str {
        self.text(0)
    }

    pub fn text(&self, index: usize) -> &str {
        match self.0.get(index) {
            Some(Word::Text(text)) => text,
            _ => panic!("`{self}` has no text as its word {index}"),
        }
    }

    /// All words from there on, which must be texts.
    pub fn texts(&self, from: usize) -> Vec<&str> {
        (from..self.0.len()).map(|index| self.text(index)).collect()
    }

    pub fn block(&self, index: usize) -> &[Action] {
        match self.0.get(index) {
            Some(Word::Block(actions)) => actions,
            _ => panic!("`{self}` has no block as its word {index}"),
        }
    }

    pub fn blocks(&self, from: usize) -> Vec<Vec<Action>> {
        (from..self.0.len())
            .map(|index| self.block(index).to_vec())
            .collect()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            match word {
                Word::Text(text) => f.write_str(text)?,
                Word::Block(actions) => {
                    let actions: Vec<String> = actions.iter().map(Action::to_string).collect();
                    write!(f, "{{{}}}", actions.join("; "))?;
                }
            }
        }
        Ok(())
    }
}
