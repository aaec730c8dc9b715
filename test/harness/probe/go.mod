// A program that tries what a sandbox must not do.
module berth.dev/test/harness/probe

go 1.24
