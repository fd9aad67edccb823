/**
 * Runs the built packages on the oldest Node they promise to run on, whatever Node runs this.
 * The platform's own package of that Node has no install script, so it comes also where scripts are off.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const OLDEST_NODE = '22.18.0'
const platform = process.platform === 'win32' ? 'win' : process.platform
const node = `node-${platform}-${process.arch}@${OLDEST_NODE}`
const script = fileURLToPath(new URL('./main.js', import.meta.url))
const { status } = spawnSync('npm', ['exec', '--yes', `--package=${node}`, '--', 'node', script], { stdio: 'inherit' })
process.exitCode = status ?? 1
