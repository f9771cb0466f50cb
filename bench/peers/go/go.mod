module firsthop-bench/go-relay

go 1.22
