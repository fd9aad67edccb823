import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

test('every order is enriched in its customer’s order, and those refused are dead letters', async () => {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  const child = spawn(process.execPath, ['--conditions=shardwise-source', main])
  const [[code], stdout, stderr] = await Promise.all([once(child, 'close'), text(child.stdout), text(child.stderr)])
  expect(stderr).toBe('')
  expect(stdout.match(/^(ok|FAILED) .*$/gm)?.map((line) => line.split(' ')[0])).toEqual(['ok', 'ok', 'ok'])
  expect(code).toBe(0)
}, 60_000)
