module farcall.test/interop

go 1.19
