// SPDX-License-Identifier: Apache-2.0

// Command kube-controller-manager is the controllers of Kubernetes, as released, for the tests.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	os.Exit(cli.Run(app.NewControllerManagerCommand()))
}
