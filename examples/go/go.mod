module example.com/bqgo

go 1.19
