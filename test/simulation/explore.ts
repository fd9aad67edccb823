import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Invariant } from './violation.ts'
import type { Outcome } from './world.ts'

/** What a run of one seed came to, as its process tells it. */
export interface SeedResult extends Omit<Outcome, 'violation' | 'digest' | 'trace'> {
  readonly seed: number
  /** Faults in the plan. */
  readonly faults: number
  readonly violation: { readonly invariant: Invariant; readonly message: string } | undefined
}

export interface ExploreOptions {
  readonly seeds: Iterable<number>
  readonly processes: number
  readonly onResult: (result: SeedResult) => void
  /** Flags of Node for the processes, such as the one that plants a mutation. */
  readonly execArgv?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Asked before each seed. */
  readonly isOver?: () => boolean
}

const RUNNER = fileURLToPath(new URL('./seed-runner.ts', import.meta.url))

/** After so many seeds a process is replaced: Node keeps what waits for an `AbortSignal.any`, and so what had died in a run. */
const SEEDS_A_PROCESS = 60

/** Runs many seeds in processes of their own, each of which gets the next seed when it is done with one. */
export async function explore(options: ExploreOptions): Promise<void> {
  const seeds = options.seeds[Symbol.iterator]()
  const runner = async (): Promise<void> => {
    for (let areMore = true; areMore; ) areMore = await runSome(seeds, options)
  }
  await Promise.all(Array.from({ length: options.processes }, runner))
}

/** Resolves to whether there may be more seeds. */
function runSome(seeds: Iterator<number>, { onResult, execArgv, env, isOver }: ExploreOptions): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>()
  const child: ChildProcess = fork(RUNNER, {
    execArgv: ['--conditions=shardwise-source', ...(execArgv ?? [])],
    env: { ...process.env, ...env },
    serialization: 'advanced',
  })
  let current: number | undefined
  let left = SEEDS_A_PROCESS
  let areMore = true
  const next = (): void => {
    current = undefined
    if (left-- > 0) {
      const { done, value } = isOver?.() ? { done: true, value: undefined } : seeds.next()
      areMore = !done
      current = done ? undefined : value
    }
    if (current === undefined) child.disconnect()
    else child.send(current)
  }
  child.on('message', (result: SeedResult | 'ready') => {
    if (result !== 'ready') onResult(result)
    next()
  })
  child.on('error', reject)
  child.on('exit', (code, signal) => {
    if (code === 0 && current === undefined) resolve(areMore)
    else reject(new Error(`the process that ran seed ${current} ended with ${signal ?? `code ${code}`}`))
  })
  return promise
}
