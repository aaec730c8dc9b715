// Prints the seccomp profile that containerd gives a container with the capabilities named as arguments, as JSON.
package main

import (
	"encoding/json"
	"os"

	"berth.dev/hack/seccomp/profile"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func main() {
	capabilities := &specs.LinuxCapabilities{Bounding: os.Args[1:]}
	spec := &specs.Spec{Process: &specs.Process{Capabilities: capabilities}}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(profile.DefaultProfile(spec)); err != nil {
		panic(err)
	}
}
