import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The releases of the KCL that the worker program is built with. */
export type KclVersion = '3.5' | '3.4' | '2'

const folder = fileURLToPath(new URL('java', import.meta.url))
const stampFile = join(folder, 'target', 'stamp')

/** DynamoDB for development needs it. */
const OLDEST_JDK = 17

/** What the Java side needs and this machine doesn't have. */
export function missingTools(): string[] {
  const missing: string[] = []
  const { status, stdout, stderr } = spawnSync('javac', ['-version'], { encoding: 'utf8' })
  const major = Number(/^javac (\d+)/m.exec(`${stdout}\n${stderr}`)?.[1])
  if (status !== 0 || !(major >= OLDEST_JDK)) missing.push(`a JDK from ${OLDEST_JDK} on`)
  if (spawnSync('mvn', ['-version'], { stdio: 'ignore' }).status !== 0) missing.push('Maven')
  return missing
}

/**
 * Builds the worker programs and fetches DynamoDB, unless nothing has changed since. Asks the network only for what the local
 * Maven repository doesn't hold. Returns whether there was anything to do.
 *
 * @throws {Error} with Maven's output, when it fails
 */
export function buildJava(): boolean {
  const stamp = stampOfSources()
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return false
  const offline = maven('--offline')
  if (offline.status !== 0) {
    const online = maven()
    if (online.status !== 0) throw new Error(`mvn package failed:\n${online.stdout}${online.stderr}`)
  }
  mkdirSync(dirname(stampFile), { recursive: true })
  writeFileSync(stampFile, stamp)
  return true
}

function maven(...options: string[]): ReturnType<typeof spawnSync> {
  return spawnSync('mvn', ['-q', '-B', ...options, 'clean', 'package'], { cwd: folder, encoding: 'utf8' })
}

function stampOfSources(): string {
  const hash = createHash('sha256')
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  for (const name of names.filter((name) => !name.includes('target') && /\.(xml|java)$/.test(name)).sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(folder, name)))
  }
  return hash.digest('hex')
}

/** Arguments for `java` that start quickly and stay small. */
const JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xmx256m', '-Xss512k']

export function kclWorkerCommand(version: KclVersion, settings: Readonly<Record<string, string>>): string[] {
  const classes = join(folder, `kcl-${version}`, 'target', 'lib', '*')
  const given = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  const logging = `-Dlogback.configurationFile=${join(folder, 'logback.xml')}`
  return ['java', ...JVM, logging, '-cp', classes, 'Worker', ...given]
}

export function dynamodbCommand(port: number): string[] {
  const lib = join(folder, 'dynamodb-local', 'target', 'lib')
  const main = 'com.amazonaws.services.dynamodbv2.local.main.ServerRunner'
  const options = ['-inMemory', '-sharedDb', '-disableTelemetry', '-port', String(port)]
  return ['java', ...JVM, `-Djava.library.path=${lib}`, '-cp', join(lib, '*'), main, ...options]
}
