//! A condition's text as a tree: the grammar of CEL without maps, messages, bytes and unsigned integers.
//!
//! Recursion is bounded by [`MAX_DEPTH`] and counted before it happens, and the tree's own depth is bounded by the same
//! number, so nothing that walks it can run out of stack. Chains of `&&` and `||` are one node each.

use super::problem::Fault;
use super::token::{Mark, Placed, Token, tokens};

/// The deepest nesting of a condition: brackets, operators, selections.
pub const MAX_DEPTH: usize = 32;

/// The most parts (names, values, operators, calls) of a condition.
pub const MAX_NODES: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Syntax {
    /// The byte it is about.
    pub(super) at: usize,
    depth: usize,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    Member(Box<Syntax>, String),
    Index(Box<Syntax>, Box<Syntax>),
    Call { target: Option<Box<Syntax>>, name: String, args: Vec<Syntax> },
    List(Vec<Syntax>),
    Not(Box<Syntax>),
    Negative(Box<Syntax>),
    Binary(Binary, Box<Syntax>, Box<Syntax>),
    All(Vec<Syntax>),
    Any(Vec<Syntax>),
    If(Box<Syntax>, Box<Syntax>, Box<Syntax>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Plus,
    Minus,
    Times,
    Divided,
    Remainder,
}

/// Words CEL keeps for itself.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub(super) fn parse(text: &str) -> Result<Syntax, Fault> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, open: 0, nodes: 0 };
    let syntax = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(syntax),
        Token::Int(_) | Token::IntMinMagnitude | Token::Float(_) | Token::Text(_) | Token::Name(_) | Token::Mark(_) => {
            let what = shown(parser.peek());
            Err(Fault::new(
                parser.at(),
                format!("{what} after the end of the condition"),
                "remove it, or join it with `&&` or `||`",
            ))
        }
    }
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    open: usize,
    nodes: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn sees(&self, mark: Mark) -> bool {
        *self.peek() == Token::Mark(mark)
    }

    fn accept(&mut self, mark: Mark) -> bool {
        let seen = self.sees(mark);
        self.next += usize::from(seen);
        seen
    }

    fn expect(&mut self, mark: Mark, after: &str) -> Result<(), Fault> {
        if self.accept(mark) {
            return Ok(());
        }
        let found = shown(self.peek());
        Err(Fault::new(
            self.at(),
            format!("{found} where `{}` must stand {after}", mark.text()),
            format!("add `{}`", mark.text()),
        ))
    }

    /// Makes a node, one deeper than its deepest child.
    fn node(&mut self, at: usize, shape: Shape) -> Result<Syntax, Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Fault::new(
                at,
                format!("the condition has more than {MAX_NODES} parts"),
                "split it into several rules, or move lists into `params`",
            ));
        }
        let mut below = 0;
        shape.children(&mut |child| below = below.max(child.depth));
        if below >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        Ok(Syntax { at, depth: below + 1, shape })
    }

    fn expression(&mut self) -> Result<Syntax, Fault> {
        if self.open >= MAX_DEPTH {
            return Err(too_deep(self.at()));
        }
        self.open += 1;
        let parsed = self.conditional();
        self.open -= 1;
        parsed
    }

    fn conditional(&mut self) -> Result<Syntax, Fault> {
        let condition = self.chain(Mark::Or)?;
        let at = self.at();
        if !self.accept(Mark::Question) {
            return Ok(condition);
        }
        let then = self.chain(Mark::Or)?;
        self.expect(Mark::Colon, "between the two values of `?`")?;
        let otherwise = self.expression()?;
        self.node(at, Shape::If(condition.into(), then.into(), otherwise.into()))
    }

    /// A chain of `||` over chains of `&&` over relations.
    fn chain(&mut self, mark: Mark) -> Result<Syntax, Fault> {
        let at = self.at();
        let mut parts = vec![self.link(mark)?];
        while self.accept(mark) {
            parts.push(self.link(mark)?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            Some(last) => {
                parts.push(last);
                self.node(at, if mark == Mark::Or { Shape::Any(parts) } else { Shape::All(parts) })
            }
            None => Err(Fault::new(at, "nothing where a condition must stand", "write one")),
        }
    }

    fn link(&mut self, mark: Mark) -> Result<Syntax, Fault> {
        if mark == Mark::Or { self.chain(Mark::And) } else { self.binary(0) }
    }

    /// Relations, then sums, then products: each level from the left.
    fn binary(&mut self, level: usize) -> Result<Syntax, Fault> {
        let operand = |parser: &mut Self| if level == 2 { parser.unary() } else { parser.binary(level + 1) };
        let mut left = operand(self)?;
        loop {
            let at = self.at();
            let Some(operator) = operator(self.peek()).filter(|operator| operator.level() == level) else {
                return Ok(left);
            };
            self.next += 1;
            let right = operand(self)?;
            left = self.node(at, Shape::Binary(operator, left.into(), right.into()))?;
        }
    }

    fn unary(&mut self) -> Result<Syntax, Fault> {
        let at = self.at();
        let negative = self.sees(Mark::Minus);
        if !negative && !self.sees(Mark::Not) {
            return self.selections();
        }
        self.next += 1;
        // A minus right before a number belongs to it, so that the lowest integer can be written.
        let literal = match self.peek() {
            Token::Int(value) if negative => Some(Shape::Int(-value)),
            Token::IntMinMagnitude if negative => Some(Shape::Int(i64::MIN)),
            Token::Float(value) if negative => Some(Shape::Float(-value)),
            Token::Int(_)
            | Token::IntMinMagnitude
            | Token::Float(_)
            | Token::Text(_)
            | Token::Name(_)
            | Token::Mark(_)
            | Token::End => None,
        };
        if let Some(literal) = literal {
            self.next += 1;
            let literal = self.node(at, literal)?;
            return self.select_from(literal);
        }
        if self.open >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.open += 1;
        let operand = self.unary();
        self.open -= 1;
        let operand = operand?.into();
        self.node(at, if negative { Shape::Negative(operand) } else { Shape::Not(operand) })
    }

    fn selections(&mut self) -> Result<Syntax, Fault> {
        let primary = self.primary()?;
        self.select_from(primary)
    }

    fn select_from(&mut self, mut value: Syntax) -> Result<Syntax, Fault> {
        loop {
            let at = self.at();
            if self.accept(Mark::Dot) {
                let name = self.name("after `.`")?;
                let shape = if self.accept(Mark::Open) {
                    Shape::Call { target: Some(value.into()), name, args: self.arguments(Mark::Close)? }
                } else {
                    Shape::Member(value.into(), name)
                };
                // The place of a member is its name, not the dot.
                value = self.node(at + 1, shape)?;
            } else if self.accept(Mark::OpenList) {
                let index = self.expression()?;
                self.expect(Mark::CloseList, "after an index")?;
                value = self.node(at, Shape::Index(value.into(), index.into()))?;
            } else {
                return Ok(value);
            }
        }
    }

    fn name(&mut self, after: &str) -> Result<String, Fault> {
        if let Token::Name(name) = self.peek() {
            let name = name.clone();
            self.next += 1;
            return Ok(name);
        }
        let found = shown(self.peek());
        Err(Fault::new(
            self.at(),
            format!("{found} where a name must stand {after}"),
            "write a name of letters, digits and `_`",
        ))
    }

    fn primary(&mut self) -> Result<Syntax, Fault> {
        let at = self.at();
        let token = self.peek().clone();
        let shape = match token {
            Token::Int(value) => Shape::Int(value),
            Token::Float(value) => Shape::Float(value),
            Token::Text(text) => Shape::Text(text),
            Token::IntMinMagnitude => {
                return Err(Fault::new(at, "the integer is beyond 64 bits with its sign", "write a smaller one"));
            }
            Token::Name(name) => {
                self.next += 1;
                return self.named(at, name);
            }
            Token::Mark(Mark::Open) => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(Mark::Close, "after what stands in brackets")?;
                return Ok(inner);
            }
            Token::Mark(Mark::OpenList) => {
                self.next += 1;
                let items = self.arguments(Mark::CloseList)?;
                return self.node(at, Shape::List(items));
            }
            Token::Mark(_) | Token::End => {
                return Err(Fault::new(
                    at,
                    format!("{} where a value must stand", shown(&token)),
                    "write a value, a name or a bracket",
                ));
            }
        };
        self.next += 1;
        self.node(at, shape)
    }

    fn named(&mut self, at: usize, name: String) -> Result<Syntax, Fault> {
        let shape = match name.as_str() {
            "true" => Shape::Bool(true),
            "false" => Shape::Bool(false),
            "null" => Shape::Null,
            "in" => return Err(Fault::new(at, "`in` where a value must stand", "write `VALUE in LIST`")),
            word if RESERVED.contains(&word) => {
                return Err(Fault::new(at, format!("`{word}` is a reserved word"), "use another name"));
            }
            _ if self.accept(Mark::Open) => Shape::Call { target: None, name, args: self.arguments(Mark::Close)? },
            _ => Shape::Name(name),
        };
        self.node(at, shape)
    }

    /// What stands between commas up to the closing mark, which is taken.
    fn arguments(&mut self, close: Mark) -> Result<Vec<Syntax>, Fault> {
        let mut items = Vec::new();
        if !self.sees(close) {
            items.push(self.expression()?);
            while self.accept(Mark::Comma) {
                items.push(self.expression()?);
            }
        }
        self.expect(close, "at the end of a list")?;
        Ok(items)
    }
}

impl Shape {
    fn children<'s>(&'s self, visit: &mut dyn FnMut(&'s Syntax)) {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::Name(_) => {}
            Self::Member(of, _) | Self::Not(of) | Self::Negative(of) => visit(of),
            Self::Index(of, with) | Self::Binary(_, of, with) => {
                visit(of);
                visit(with);
            }
            Self::Call { target, args, .. } => {
                target.iter().for_each(|target| visit(target));
                args.iter().for_each(visit);
            }
            Self::List(items) | Self::All(items) | Self::Any(items) => items.iter().for_each(visit),
            Self::If(condition, then, otherwise) => {
                visit(condition);
                visit(then);
                visit(otherwise);
            }
        }
    }
}

fn too_deep(at: usize) -> Fault {
    Fault::new(at, format!("the condition nests deeper than {MAX_DEPTH}"), "split it into several rules")
}

fn shown(token: &Token) -> String {
    match token {
        Token::Int(value) => format!("`{value}`"),
        Token::IntMinMagnitude => format!("`{}`", i64::MIN.unsigned_abs()),
        Token::Float(value) => format!("`{value}`"),
        Token::Text(_) => "a text".to_owned(),
        Token::Name(name) => format!("`{name}`"),
        Token::Mark(mark) => format!("`{}`", mark.text()),
        Token::End => "the end".to_owned(),
    }
}

fn operator(token: &Token) -> Option<Binary> {
    Some(match token {
        Token::Name(name) if name == "in" => Binary::In,
        Token::Mark(Mark::Equal) => Binary::Equal,
        Token::Mark(Mark::NotEqual) => Binary::NotEqual,
        Token::Mark(Mark::Less) => Binary::Less,
        Token::Mark(Mark::LessOrEqual) => Binary::LessOrEqual,
        Token::Mark(Mark::Greater) => Binary::Greater,
        Token::Mark(Mark::GreaterOrEqual) => Binary::GreaterOrEqual,
        Token::Mark(Mark::Plus) => Binary::Plus,
        Token::Mark(Mark::Minus) => Binary::Minus,
        Token::Mark(Mark::Times) => Binary::Times,
        Token::Mark(Mark::Divided) => Binary::Divided,
        Token::Mark(Mark::Remainder) => Binary::Remainder,
        Token::Int(_)
        | Token::IntMinMagnitude
        | Token::Float(_)
        | Token::Text(_)
        | Token::Name(_)
        | Token::Mark(_)
        | Token::End => return None,
    })
}

impl Binary {
    fn level(self) -> usize {
        match self {
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::In => 0,
            Self::Plus | Self::Minus => 1,
            Self::Times | Self::Divided | Self::Remainder => 2,
        }
    }

    /// As written.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Divided => "/",
            Self::Remainder => "%",
        }
    }
}
