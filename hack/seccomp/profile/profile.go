// Package profile is containerd's default profile for the architecture of this machine. hack/generate-seccomp.ts replaces this file by
// containerd's source for other architectures.
package profile

import "github.com/containerd/containerd/v2/contrib/seccomp"

var DefaultProfile = seccomp.DefaultProfile
