//! The quorum, under schedules that are drawn by chance.
