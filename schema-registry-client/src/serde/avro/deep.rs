//! Stack and time for deeply nested values.
//!
//! The Avro library recurses along a value, with about 64 KiB of stack for each level where it is compiled without
//! optimisation, so that some thirty levels fill the two MiB of a usual thread; and its schema resolution looks at
//! everything below a union twice, so that its time doubles with each union inside another. Both are measured here
//! before the library is let at a value.

use std::thread;

use apache_avro::types::Value;

/// Levels that any thread has the stack for.
const SHALLOW: usize = if cfg!(debug_assertions) { 8 } else { 32 };

/// Stack for one level, in bytes, twice of what was seen.
const STACK_BYTES_PER_LEVEL: usize = 128 << 10;

/// The most steps that resolving one value may take.
pub(super) const RESOLVE_STEPS_MAX: u64 = 1 << 22;

/// Does work that recurses `depth` levels: here, or where that is deep, on a thread of its own that has the stack.
///
/// # Errors
/// The system's reason why there is no such thread.
pub(super) fn with_stack<T: Send>(depth: usize, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    if depth <= SHALLOW {
        return Ok(work());
    }
    let stack_bytes = depth.saturating_mul(STACK_BYTES_PER_LEVEL).saturating_add(1 << 20);
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("rkafka-avro-deep".into())
            .stack_size(stack_bytes)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread with {stack_bytes} bytes of stack for {depth} levels: {error}"))?;
        // A panic there goes on here, as if there were no other thread.
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// What it takes to walk a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effort {
    /// How deep it is nested.
    pub(super) depth: usize,
    /// The steps that resolving it takes, as far as it matters.
    pub(super) resolve_steps: u64,
}

impl Effort {
    /// Measures a value without recursion.
    pub(super) fn of(value: &Value) -> Self {
        let mut effort = Self { depth: 0, resolve_steps: 0 };
        let mut left: Vec<(&Value, usize, u64)> = vec![(value, 0, 1)];
        while let Some((value, depth, factor)) = left.pop() {
            effort.depth = effort.depth.max(depth);
            effort.resolve_steps = effort.resolve_steps.saturating_add(factor);
            match value {
                Value::Union(_, inner) => left.push((inner, depth + 1, factor.saturating_mul(2))),
                Value::Array(items) => left.extend(items.iter().map(|item| (item, depth + 1, factor))),
                Value::Map(items) => left.extend(items.values().map(|item| (item, depth + 1, factor))),
                Value::Record(fields) => left.extend(fields.iter().map(|(_, field)| (field, depth + 1, factor))),
                _ => {}
            }
        }
        effort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(unions: usize) -> Value {
        (0..unions).fold(Value::Null, |inner, _| Value::Union(1, Box::new(inner)))
    }

    #[test]
    fn unions_within_unions_double_the_steps() {
        assert_eq!(Effort::of(&Value::Int(1)), Effort { depth: 0, resolve_steps: 1 });
        assert_eq!(Effort::of(&nested(3)), Effort { depth: 3, resolve_steps: 1 + 2 + 4 + 8 });
        assert_eq!(Effort::of(&nested(100)).resolve_steps, u64::MAX);
        let wide = Value::Array(vec![Value::Null; 5]);
        assert_eq!(Effort::of(&wide), Effort { depth: 1, resolve_steps: 6 });
    }

    #[test]
    fn deep_work_has_its_stack_and_gives_its_result() {
        fn sum(levels: u64) -> u64 {
            let ballast = std::hint::black_box([levels; 4096]);
            if levels == 0 { 0 } else { ballast[0] + sum(levels - 1) }
        }
        // About 32 KiB a level, together far more than a test's two MiB.
        assert_eq!(with_stack(200, || sum(200)), Ok(20_100));
        assert_eq!(with_stack(0, || 7), Ok(7));
    }
}
