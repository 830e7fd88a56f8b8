module gobbench

go 1.27
