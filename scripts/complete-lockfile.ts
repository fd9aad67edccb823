/**
 * Adds to package-lock.json the other platforms' optional packages that npm left out. npm leaves one out where the
 * registry at hand doesn't have it, and `npm ci` then refuses the lock file everywhere.
 *
 *   npm install … && node scripts/complete-lockfile.ts
 */
import { readFileSync, writeFileSync } from 'node:fs'

interface LockedPackage {
  readonly version?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32']
const PROCESSORS = ['arm64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x', 'x64']

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, LockedPackage> }
const added: string[] = []
for (const { dev, optionalDependencies = {} } of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    const path = `node_modules/${name}`
    const words = name.split(/[-/]/)
    const os = SYSTEMS.find((system) => words.includes(system))
    const cpu = PROCESSORS.find((processor) => words.includes(processor))
    // Only what the name places on a platform: npm skips it elsewhere without asking for it.
    if (lock.packages[path] !== undefined || os === undefined || cpu === undefined) continue
    const libc = name.includes('musl') ? ['musl'] : os === 'linux' ? ['glibc'] : undefined
    lock.packages[path] = {
      version,
      cpu: [cpu],
      ...(dev && { dev }),
      ...(libc && { libc }),
      optional: true,
      os: [os],
    } as LockedPackage
    added.push(`${name}@${version}`)
  }
}
const inOrder = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1))
writeFileSync('package-lock.json', `${JSON.stringify({ ...lock, packages: Object.fromEntries(inOrder) }, null, 2)}\n`)
process.stdout.write(`${added.length} added${added.map((name) => `\n  ${name}`).join('')}\n`)
