//! Closed sets of reasons that are labels of metrics.

/// Writes an enum, its list `ALL` and its `as_str` from one list, so that they cannot differ.
macro_rules! labels {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// Every reason, in the order of declaration.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            /// The metric label, in snake case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }
    };
}

pub(crate) use labels;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::{Closing, DropReason};

    fn check(labels: &[&str]) {
        let distinct: HashSet<_> = labels.iter().collect();
        assert_eq!(distinct.len(), labels.len());
        let snake_case = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(labels.iter().all(|label| label.bytes().all(snake_case)));
    }

    #[test]
    fn labels_are_distinct_and_snake_case() {
        check(&DropReason::ALL.map(DropReason::as_str));
        check(&Closing::ALL.map(Closing::as_str));
    }

    #[test]
    fn reasons_stand_in_all_at_their_own_index() {
        assert!(
            DropReason::ALL
                .into_iter()
                .enumerate()
                .all(|(index, one)| one as usize == index)
        );
        assert!(
            Closing::ALL
                .into_iter()
                .enumerate()
                .all(|(index, one)| one as usize == index)
        );
    }
}
