import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

async function run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--conditions=shardwise-source', main, ...args])
  const [[code], stdout, stderr] = await Promise.all([once(child, 'close'), text(child.stdout), text(child.stderr)])
  return { code: code as number | null, stdout, stderr }
}

test('a short job through the real stream, with its split, ends with everything in order and status 0', async () => {
  const { code, stdout, stderr } = await run('--records', '3000', '--no-kill')
  expect(stderr).toBe('')
  expect(stdout).toContain('is split in half')
  expect(stdout).toContain('every one of the flights was delivered (3,000 of 3,000)')
  expect(stdout).not.toContain('FAILED')
  expect(code).toBe(0)
}, 60_000)

test.each([
  [['--recrods', '5'], "Unknown option '--recrods'\n"],
  [['--input', '/no/file', '--key', 'id'], "/no/file can't be read: ENOENT"],
])('%j ends with status 2 and says why before anything starts', async (args, why) => {
  const { code, stdout, stderr } = await run(...args)
  expect(code).toBe(2)
  expect(stdout).toBe('')
  expect(stderr).toContain(why)
  expect(stderr).toContain('--help')
})

test.each([
  // All workers are up by then, and nothing has been put.
  ['before the first record', 0],
  // Thousands are on their way through the producer.
  ['among the records', 1_500],
])(
  'Ctrl-C %s ends the job with status 130 and leaves no worker',
  async (_when, afterMs) => {
    const child = spawn(process.execPath, ['--conditions=shardwise-source', main])
    let stdout = ''
    child.stdout.on('data', async (chunk: Buffer) => {
      if (stdout.includes('worker-2 holds')) return
      stdout += chunk.toString()
      if (!stdout.includes('worker-2 holds')) return
      await setTimeout(afterMs)
      child.kill('SIGINT')
    })
    // The workers hold the pipe too, so it closes only when they are gone.
    const [[code], stderr] = await Promise.all([once(child, 'close'), text(child.stderr)])
    expect(stderr).toBe('Interrupted; the workers are stopped\n')
    expect(code).toBe(130)
  },
  60_000,
)
