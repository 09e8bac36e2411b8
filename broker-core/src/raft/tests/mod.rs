//! The quorum: its courses one by one, and under schedules that are drawn by chance.

mod course;
mod disk_log;
mod memory_log;
mod schedules;
mod world;
