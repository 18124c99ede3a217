// SPDX-License-Identifier: Apache-2.0

// Command kubectl is the command line of Kubernetes, as released, for the tests; its kustomize
// renders the base.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
