/** `npm run interop`: builds the Java side and runs the tests against it; without a JDK and Maven it only says so. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { buildJava, missingTools } from './java.ts'

const missing = missingTools()
if (missing.length > 0) {
  process.stdout.write(`interop skipped: it runs the KCL, which needs ${missing.join(' and ')}\n`)
} else {
  const startedAt = performance.now()
  const built = buildJava()
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  process.stdout.write(`java side ${built ? 'built' : 'is up to date'} (${seconds} s)\n`)
  const config = fileURLToPath(new URL('vitest.config.ts', import.meta.url))
  const { status } = spawnSync('vitest', ['run', '--config', config, ...process.argv.slice(2)], { stdio: 'inherit' })
  process.exitCode = status ?? 1
}
