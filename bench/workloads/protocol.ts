/** What requests without a git client have in common. */
export const versionTwo = { "git-protocol": "version=2" } as const;
