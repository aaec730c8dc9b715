// Command probe makes system calls that a sandbox must be refused and prints, as one JSON object, how each was answered:
// "ok", or the name of the error. Arguments are such that a call which is let through does no harm.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

var names = map[syscall.Errno]string{
	0:              "ok",
	syscall.EPERM:  "EPERM",
	syscall.EACCES: "EACCES",
	syscall.ENOSYS: "ENOSYS",
	syscall.EINVAL: "EINVAL",
	syscall.EFAULT: "EFAULT",
	syscall.EBADF:  "EBADF",
	syscall.ENOENT: "ENOENT",
}

func try(number, a, b, c, d, e uintptr) string {
	_, _, errno := syscall.RawSyscall6(number, a, b, c, d, e, 0)
	if name, known := names[errno]; known {
		return name
	}
	return fmt.Sprintf("errno %d", int(errno))
}

func text(value string) uintptr {
	bytes, err := syscall.BytePtrFromString(value)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(bytes))
}

func main() {
	runtime.LockOSThread()
	none := uintptr(0)
	invalid := ^uintptr(0)
	answers := map[string]string{
		"unshare-user":      try(syscall.SYS_UNSHARE, syscall.CLONE_NEWUSER, 0, 0, 0, 0),
		"unshare-mount":     try(syscall.SYS_UNSHARE, syscall.CLONE_NEWNS, 0, 0, 0, 0),
		"setns":             try(sysSetns, invalid, 0, 0, 0, 0),
		"mount":             try(syscall.SYS_MOUNT, text("none"), text("/tmp"), text("tmpfs"), 0, none),
		"umount":            try(syscall.SYS_UMOUNT2, text("/proc"), syscall.MNT_DETACH, 0, 0, 0),
		"pivot_root":        try(syscall.SYS_PIVOT_ROOT, text("/"), text("/tmp"), 0, 0, 0),
		"keyctl":            try(syscall.SYS_KEYCTL, 0, invalid-2, 0, 0, 0),
		"add_key":           try(syscall.SYS_ADD_KEY, text("user"), text("probe"), text("x"), 1, invalid-2),
		"bpf":               try(sysBpf, 0, 0, 0, 0, 0),
		"perf_event_open":   try(syscall.SYS_PERF_EVENT_OPEN, 0, 0, invalid, invalid, 0),
		"init_module":       try(syscall.SYS_INIT_MODULE, 0, 0, 0, 0, 0),
		"kexec_load":        try(syscall.SYS_KEXEC_LOAD, 0, invalid, 0, 0, 0),
		"open_by_handle_at": try(sysOpenByHandleAt, invalid, 0, 0, 0, 0),
		"io_uring_setup":    try(425, 1, 0, 0, 0, 0),
		"sethostname":       try(syscall.SYS_SETHOSTNAME, text("probe"), 5, 0, 0, 0),
		"swapoff":           try(syscall.SYS_SWAPOFF, text("/none"), 0, 0, 0, 0),
		"getpid":            try(syscall.SYS_GETPID, 0, 0, 0, 0, 0),
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		panic(err)
	}
}
