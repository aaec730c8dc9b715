package main

const (
	sysSetns          = 308
	sysBpf            = 321
	sysOpenByHandleAt = 304
)
