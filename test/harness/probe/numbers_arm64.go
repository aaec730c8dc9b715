package main

const (
	sysSetns          = 268
	sysBpf            = 280
	sysOpenByHandleAt = 265
)
