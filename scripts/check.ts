/**
 * Everything that must hold besides the tests: format and lint, types, unused code, the built packages as a user would
 * get them. `npm run check`.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'

const packages = readdirSync('packages').map((name) => `packages/${name}`)

const steps: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ['format and lint', 'biome', 'check', '--error-on-warnings', '.'],
  // By the types of the whole program: Biome's own rule sees no promise that comes out of another package.
  ['floating promises', 'oxlint', '--type-aware'],
  ['build', 'npm', 'run', '--silent', 'build'],
  ['types of tests and examples', 'tsc', '-p', 'tsconfig.json'],
  ['unused code and dependencies', 'knip'],
  ...packages.map((path) => [`publint ${path}`, 'publint', '--strict', path] as const),
  ...packages.map(
    (path) => [`types of the package ${path}`, 'attw', '--pack', path, '--profile', 'esm-only', '--quiet'] as const,
  ),
  ['built packages on Node 22.18', 'node', 'scripts/smoke/run.ts'],
]

const failed: string[] = []
for (const [name, command, ...args] of steps) {
  const startedAt = performance.now()
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  const ok = status === 0 && error === undefined
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)\n`)
  if (!ok) {
    failed.push(name)
    process.stdout.write(`${[command, ...args].join(' ')}\n${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}\n`)
  }
}
if (failed.length > 0) {
  process.stdout.write(`check failed: ${failed.join(', ')}\n`)
  process.exitCode = 1
}
