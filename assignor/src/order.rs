//! The order in which Java's assignors visit members and topics.

use std::cmp::Ordering;

use crate::group::Member;

/// `java.lang.String.compareTo`: by UTF-16 code unit. It differs from Rust's order where characters beyond the basic
/// multilingual plane meet those from U+E000 to U+FFFF, and leaders of both kinds must agree.
pub(crate) fn java_string(left: &str, right: &str) -> Ordering {
    if left.is_ascii() && right.is_ascii() { left.cmp(right) } else { left.encode_utf16().cmp(right.encode_utf16()) }
}

/// `AbstractPartitionAssignor.MemberInfo.compareTo` (KIP-345): static members first, by `group.instance.id`, then
/// dynamic members by member id. Java leaves two members with one instance id in the order of a hash map; here the
/// member id decides.
pub(crate) fn java_member(left: &Member, right: &Member) -> Ordering {
    match (&left.instance_id, &right.instance_id) {
        (Some(left_instance), Some(right_instance)) => {
            java_string(left_instance, right_instance).then_with(|| java_string(&left.id, &right.id))
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => java_string(&left.id, &right.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_compare_by_utf16_code_unit() {
        // U+FF5E is one unit 0xFF5E; U+1F600 begins with the surrogate 0xD83D and so comes first in Java.
        assert_eq!(java_string("\u{1F600}", "\u{FF5E}"), Ordering::Less);
        assert_eq!("\u{1F600}".cmp("\u{FF5E}"), Ordering::Greater);
        assert_eq!(java_string("a", "ab"), Ordering::Less);
        assert_eq!(java_string("Z", "a"), Ordering::Less);
    }

    #[test]
    fn static_members_come_first() {
        let dynamic = Member::new("a", ["t"]);
        let first = Member::new("z", ["t"]).with_instance_id("i-1");
        let second = Member::new("b", ["t"]).with_instance_id("i-2");
        assert_eq!(java_member(&first, &dynamic), Ordering::Less);
        assert_eq!(java_member(&dynamic, &second), Ordering::Greater);
        assert_eq!(java_member(&first, &second), Ordering::Less);
    }
}
