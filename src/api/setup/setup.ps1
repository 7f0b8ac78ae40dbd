# Configures @NAME@ for the gateway at @URL@:
#
#   Invoke-RestMethod @URL@/setup/@TOOL@.ps1 | Invoke-Expression
#
# The client key is read from TOLLFREE_CLIENT_KEY or from the terminal, and sent in a header only. This script holds no secret.
# Files of yours are copied to NAME.before-tollfree before they are changed.

& {
    Set-StrictMode -Version 2
    $ErrorActionPreference = 'Stop'
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12

    $url = '@URL@'
    $tool = '@TOOL@'
    $utf8 = New-Object System.Text.UTF8Encoding $false

    function Read-ClientKey {
        if ($env:TOLLFREE_CLIENT_KEY) {
            return $env:TOLLFREE_CLIENT_KEY
        }
        $typed = Read-Host -Prompt "Client key for $url" -AsSecureString
        $key = (New-Object System.Net.NetworkCredential '', $typed).Password
        # Any text is a key at a gateway that requires none.
        if ($key) {
            return $key
        }
        return 'open'
    }

    # The files as the gateway would have them: a line per file with its mode, its kind, its path and its text, the last two in Base64.
    function Get-Plan {
        param([string]$Key, [hashtable]$Text)
        $body = @{ os = 'Windows'; HOME = $env:USERPROFILE; APPDATA = $env:APPDATA; LOCALAPPDATA = $env:LOCALAPPDATA }
        foreach ($variable in @(@VARIABLES@)) {
            $value = [Environment]::GetEnvironmentVariable($variable)
            if ($value) {
                $body[$variable] = $value
            }
        }
        foreach ($name in $Text.Keys) {
            $body[$name] = $Text[$name]
        }
        $answer = Invoke-RestMethod -Method Post -Uri "$url/setup/$tool/files" -Headers @{ Authorization = "Bearer $Key" } -Body $body
        foreach ($line in $answer.Trim().Split("`n")) {
            $mode, $kind, $path, $content = $line.Trim().Split(' ')
            [pscustomobject]@{
                IsSecret = $mode -eq '600'
                Kind     = $kind
                Path     = $utf8.GetString([Convert]::FromBase64String($path)).Replace('/', '\')
                Content  = $utf8.GetString([Convert]::FromBase64String([string]$content))
            }
        }
    }

    # Whether the person has other text there.
    function Test-Change {
        param([object]$File, [string]$Kind)
        if ($File.Kind -ne $Kind -or -not (Test-Path -LiteralPath $File.Path)) {
            return $false
        }
        $current = [IO.File]::ReadAllText($File.Path)
        return $current.Trim() -and $current -ne $File.Content
    }

    function Write-ToolFile {
        param([object]$File)
        $exists = Test-Path -LiteralPath $File.Path
        if ($exists -and [IO.File]::ReadAllText($File.Path) -eq $File.Content) {
            Write-Output "  unchanged  $($File.Path)"
            return
        }
        $folder = Split-Path -Parent $File.Path
        [void][IO.Directory]::CreateDirectory($folder)
        $before = "$($File.Path).before-tollfree"
        if ($exists -and $File.Kind -ne 'own' -and -not (Test-Path -LiteralPath $before)) {
            Copy-Item -LiteralPath $File.Path -Destination $before
        }
        if ($File.IsSecret) {
            if (-not $exists) {
                [IO.File]::WriteAllText($File.Path, '', $utf8)
            }
            & icacls.exe $File.Path /inheritance:r /grant:r "${env:USERNAME}:F" | Out-Null
        }
        [IO.File]::WriteAllText($File.Path, $File.Content, $utf8)
        Write-Output "  written    $($File.Path)"
    }

    $key = Read-ClientKey
    $files = @(Get-Plan -Key $key -Text @{})
    $text = @{}
    $merged = @()
    $replaced = @()
    for ($number = 0; $number -lt $files.Count; $number++) {
        if (Test-Change -File $files[$number] -Kind 'edit') {
            $text["text$number"] = [IO.File]::ReadAllText($files[$number].Path)
            $merged += $files[$number].Path
        }
        if (Test-Change -File $files[$number] -Kind 'whole') {
            $replaced += $files[$number].Path
        }
    }
    if ($merged.Count -gt 0) {
        Write-Output 'These files have settings already:' $merged
        Write-Output "To be merged they are sent to the gateway at $url, which stores nothing. They may hold keys of yours."
    }
    if ($replaced.Count -gt 0) {
        Write-Output 'These files are replaced; a copy stays beside each:' $replaced
    }
    if ($merged.Count + $replaced.Count -gt 0 -and (Read-Host -Prompt 'Go on? [y/N]') -notmatch '^(y|yes)$') {
        throw "Nothing was changed. $url/setup shows the settings."
    }
    if ($text.Count -gt 0) {
        $files = @(Get-Plan -Key $key -Text $text)
    }
    foreach ($file in $files) {
        Write-ToolFile -File $file
    }
    Write-Output "@NAME@ now uses $url. Start it: @PROGRAM@"
}
