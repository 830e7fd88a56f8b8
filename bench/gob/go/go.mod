module gobbench

go 1.21
