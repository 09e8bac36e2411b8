//! The shape of a schema's binary encoding, compiled once, to check a datum before the Avro library decodes it.
//!
//! The library trusts in ways that hostile bytes exploit: it recurses as deep as a recursive schema is nested in the
//! data, reserves what a length declares, and reads an input that ends early as null in places. After this check none
//! of these can happen.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};

/// The deepest nesting of a datum: records, unions, arrays and maps, counted together.
pub(super) const DEPTH_MAX: usize = 128;

/// The most array items that take no bytes (nulls, empty records) in one datum.
pub(super) const EMPTY_ITEMS_MAX: usize = 65_536;

/// What is wrong with a datum, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The way from the outermost type, innermost step first.
    steps: Vec<String>,
    pub(super) reason: String,
}

impl Misfit {
    fn new(reason: impl Into<String>) -> Self {
        Self { steps: Vec::new(), reason: reason.into() }
    }

    fn within(mut self, step: impl FnOnce() -> String) -> Self {
        self.steps.push(step());
        self
    }

    /// The place, as in `$.items[].price`.
    pub(super) fn path(&self) -> String {
        let mut path = String::from("$");
        for step in self.steps.iter().rev() {
            path.push_str(step);
        }
        path
    }
}

#[derive(Debug)]
enum Node {
    /// A name that has been used and not been defined yet.
    Pending,
    Null,
    Boolean,
    Int,
    Long,
    Bytes,
    Fixed(usize),
    Enum(usize),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(String, usize)>),
}

/// A compiled schema: nodes that name each other by position, so that recursion is no trouble.
#[derive(Debug)]
pub(super) struct Shape {
    nodes: Vec<Node>,
    root: usize,
}

impl Shape {
    /// Compiles `main`, whose names may be defined in `references`.
    pub(super) fn compile(main: &Schema, references: &[Schema]) -> Result<Self, String> {
        let mut compiler = Compiler { nodes: Vec::new(), by_name: HashMap::new() };
        for reference in references {
            compiler.add(reference, None);
        }
        let root = compiler.add(main, None);
        let undefined = compiler.by_name.iter().find(|&(_, &node)| matches!(compiler.nodes[node], Node::Pending));
        match undefined {
            Some((name, _)) => Err(format!("the type {name} is used but not defined")),
            None => Ok(Self { nodes: compiler.nodes, root }),
        }
    }

    /// How deep `datum` is nested, if it is exactly one datum of this shape.
    pub(super) fn check(&self, datum: &[u8]) -> Result<usize, Misfit> {
        let mut checker = Checker { nodes: &self.nodes, rest: datum, empty_items: 0, deepest: 0 };
        checker.check(self.root, 0)?;
        match checker.rest.len() {
            0 => Ok(checker.deepest),
            left => Err(Misfit::new(format!("{left} bytes are left over; it was written with another schema"))),
        }
    }
}

struct Compiler {
    nodes: Vec<Node>,
    by_name: HashMap<String, usize>,
}

impl Compiler {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The node of a name, pending until it is defined.
    fn named(&mut self, name: &Name, namespace: Option<&str>) -> usize {
        let full_name = name.fullname(namespace);
        if let Some(&node) = self.by_name.get(&full_name) {
            return node;
        }
        let node = self.push(Node::Pending);
        self.by_name.insert(full_name, node);
        node
    }

    fn define(&mut self, name: &Name, namespace: Option<&str>, node: Node) -> usize {
        let position = self.named(name, namespace);
        self.nodes[position] = node;
        position
    }

    fn add(&mut self, schema: &Schema, namespace: Option<&str>) -> usize {
        match schema {
            Schema::Null => self.push(Node::Null),
            Schema::Boolean => self.push(Node::Boolean),
            Schema::Int | Schema::Date | Schema::TimeMillis => self.push(Node::Int),
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => self.push(Node::Long),
            Schema::Float => self.push(Node::Fixed(4)),
            Schema::Double => self.push(Node::Fixed(8)),
            Schema::Bytes
            | Schema::String
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::String | UuidSchema::Bytes) => self.push(Node::Bytes),
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.define(&fixed.name, namespace, Node::Fixed(fixed.size))
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => self.push(Node::Bytes),
                InnerDecimalSchema::Fixed(fixed) => self.define(&fixed.name, namespace, Node::Fixed(fixed.size)),
            },
            Schema::Enum(symbols) => self.define(&symbols.name, namespace, Node::Enum(symbols.symbols.len())),
            Schema::Array(array) => {
                let items = self.add(&array.items, namespace);
                self.push(Node::Array(items))
            }
            Schema::Map(map) => {
                let values = self.add(&map.types, namespace);
                self.push(Node::Map(values))
            }
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.add(branch, namespace)).collect();
                self.push(Node::Union(branches))
            }
            Schema::Record(record) => {
                let position = self.named(&record.name, namespace);
                let full_name = record.name.fully_qualified_name(namespace).into_owned();
                let fields = record
                    .fields
                    .iter()
                    .map(|field| (field.name.clone(), self.add(&field.schema, full_name.namespace())))
                    .collect();
                self.nodes[position] = Node::Record(fields);
                position
            }
            Schema::Ref { name } => self.named(name, namespace),
        }
    }
}

struct Checker<'a> {
    nodes: &'a [Node],
    rest: &'a [u8],
    empty_items: usize,
    deepest: usize,
}

impl Checker<'_> {
    fn check(&mut self, node: usize, depth: usize) -> Result<(), Misfit> {
        if depth > DEPTH_MAX {
            return Err(Misfit::new(format!("nested more than {DEPTH_MAX} deep")));
        }
        self.deepest = self.deepest.max(depth);
        match &self.nodes[node] {
            Node::Pending | Node::Null => Ok(()),
            Node::Boolean => match self.take(1)? {
                [0 | 1] => Ok(()),
                other => Err(Misfit::new(format!("a boolean is 0 or 1, not {other:?}"))),
            },
            Node::Int => {
                let value = self.long()?;
                i32::try_from(value).map(drop).map_err(|_| Misfit::new(format!("{value} is no 32-bit int")))
            }
            Node::Long => self.long().map(drop),
            Node::Bytes => self.bytes(),
            Node::Fixed(size) => self.take(*size).map(drop),
            Node::Enum(symbols) => {
                let index = self.long()?;
                match usize::try_from(index) {
                    Ok(index) if index < *symbols => Ok(()),
                    _ => Err(Misfit::new(format!("the enum has {symbols} symbols and none with index {index}"))),
                }
            }
            Node::Array(items) => self.blocks("[]", |checker| checker.check(*items, depth + 1)),
            Node::Map(values) => self.blocks("{}", |checker| {
                checker.bytes()?;
                checker.check(*values, depth + 1)
            }),
            Node::Union(branches) => {
                let index = self.long()?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index)).ok_or_else(|| {
                    Misfit::new(format!("the union has {} branches and none with index {index}", branches.len()))
                })?;
                self.check(*branch, depth + 1)
            }
            Node::Record(fields) => {
                for (name, field) in fields {
                    self.check(*field, depth + 1).map_err(|misfit| misfit.within(|| format!(".{name}")))?;
                }
                Ok(())
            }
        }
    }

    /// The blocks of an array or a map, each with its number of items, ended by an empty one.
    fn blocks(
        &mut self,
        step: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), Misfit>,
    ) -> Result<(), Misfit> {
        loop {
            let within = |misfit: Misfit| misfit.within(|| step.to_owned());
            let declared = self.long().map_err(within)?;
            if declared < 0 {
                // A negative count comes with the block's length in bytes, which only those who skip it need.
                self.long().map_err(within)?;
            }
            let count = declared.unsigned_abs();
            if declared == 0 {
                return Ok(());
            }
            if declared == i64::MIN {
                return Err(within(Misfit::new("a block declares more items than there can be")));
            }
            for _ in 0..count {
                let before = self.rest.len();
                item(self).map_err(within)?;
                if self.rest.len() == before {
                    self.empty_items += 1;
                    if self.empty_items > EMPTY_ITEMS_MAX {
                        return Err(within(Misfit::new(format!("more than {EMPTY_ITEMS_MAX} items without bytes"))));
                    }
                }
            }
        }
    }

    fn bytes(&mut self) -> Result<(), Misfit> {
        let declared = self.long()?;
        let len = usize::try_from(declared).map_err(|_| Misfit::new(format!("a length of {declared} bytes")))?;
        self.take(len).map(drop)
    }

    fn take(&mut self, len: usize) -> Result<&[u8], Misfit> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(Misfit::new(format!("{len} bytes are wanted and {} are left", self.rest.len())));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A zig-zag number of at most ten bytes.
    fn long(&mut self) -> Result<i64, Misfit> {
        let mut raw: u64 = 0;
        for (position, &byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if position == 9 && byte > 1 {
                return Err(Misfit::new("a number has more than 64 bits"));
            }
            raw |= bits << (7 * position);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(position + 1..).unwrap_or_default();
                return Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
            }
        }
        Err(Misfit::new("the data ends within a number"))
    }
}
